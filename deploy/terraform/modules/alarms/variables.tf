variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "kms_key_arn" {
  description = "The key for data at rest, which CloudWatch and Budgets may use."
  type        = string
}

variable "email" {
  description = "Who is told."
  type        = string

  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+$", var.email))
    error_message = "email is an address such as team@example.org."
  }
}

variable "monthly_budget_usd" {
  description = "US dollars a month for what carries the cluster's tag; told at 80 % spent and at 100 % forecast."
  type        = number

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "The budget is more than 0."
  }
}

variable "queues" {
  description = "By class: names of its queue and of its dead letters."
  type        = map(object({ name = string, dead_name = string }))
}

variable "oldest_message_s" {
  description = "Seconds that a trial may wait in a queue before somebody is told."
  type        = number
  default     = 1800
}

variable "api_balancer" {
  description = "The control plane's load balancer and target group, as CloudWatch names them."
  type        = object({ load_balancer = string, target_group = string })
}
