variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "account_id" {
  description = "The account."
  type        = string
}


variable "log_bucket" {
  description = "The bucket that logs go to."
  type        = string
}

variable "pods" {
  description = "Roles for pods: the namespace and service account that may take one, and the statements of its policy."
  type = map(object({
    namespace       = string
    service_account = string
    policy          = string
  }))
}
