variable "account_id" {
  description = "The account that all of this is made in."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
  default     = "eu-central-1"
}

variable "ami_id" {
  description = "Image of all nodes: Debian 13, amd64."
  type        = string
}

variable "alarm_email" {
  description = "Who is told of alarms and of the budget."
  type        = string
}
