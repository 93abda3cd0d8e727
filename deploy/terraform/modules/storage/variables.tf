variable "bucket_prefix" {
  description = "Before each bucket's name; bucket names are shared by the whole world, so the account's id belongs into it."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{2,45}$", var.bucket_prefix))
    error_message = "The prefix is 3 to 46 of a-z, 0-9 and '-'."
  }
}

variable "account_id" {
  description = "The account, alone allowed to have logs delivered."
  type        = string
}

variable "kms_key_arn" {
  description = "The key for data at rest."
  type        = string
}

variable "snapshot_days" {
  description = "Days for which snapshots of etcd are kept."
  type        = number
  default     = 30

  validation {
    condition     = var.snapshot_days >= 7
    error_message = "Keep snapshots for a week at least: a fault is not always seen the same day."
  }
}
