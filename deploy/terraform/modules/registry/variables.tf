variable "name" {
  description = "The cluster's name: repositories are `<name>/<image>`."
  type        = string
}

variable "images" {
  description = "The images that are pushed."
  type        = set(string)
  default     = ["worker", "api"]

  validation {
    condition     = length(var.images) > 0
    error_message = "Name an image."
  }
}

variable "kms_key_arn" {
  description = "The key for data at rest."
  type        = string
}
