variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "enabled" {
  description = "Whether the store is ElastiCache; false where it runs inside of the cluster."
  type        = bool
}

variable "node_type" {
  description = "The nodes' type."
  type        = string
  default     = "cache.t4g.small"

  validation {
    condition     = startswith(var.node_type, "cache.")
    error_message = "A node type begins with \"cache.\"."
  }
}

variable "replicas" {
  description = "Copies beside the primary, each in another zone."
  type        = number
  default     = 1

  validation {
    condition     = var.replicas >= 1 && var.replicas <= 5
    error_message = "1 to 5: the store is the truth about every trial, and with none its failure loses what was written since the last snapshot."
  }
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "The store's group; only workers reach it."
  type        = string
}

variable "kms_key_arn" {
  description = "The key for data at rest."
  type        = string
}

variable "password_parameter" {
  description = <<-TEXT
    Name of an SSM SecureString, made by the operator, that holds the store's password (16 to 128 letters and digits).
    The provider has no write-only argument for it: Terraform's state holds it too, which is why state is encrypted.
  TEXT
  type        = string
}
