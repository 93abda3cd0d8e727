variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "account_id" {
  description = "The account, whose administrators govern the keys."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account's id has twelve digits."
  }
}
