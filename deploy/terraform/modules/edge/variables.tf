variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "enabled" {
  description = "Whether there is a load balancer for people. Without one the API is reached by port forwarding."
  type        = bool
}

variable "internal" {
  description = "Whether it has an address inside of the network only."
  type        = bool
  default     = false
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Public subnets, or private ones where it is internal."
  type        = list(string)
}

variable "security_group_id" {
  description = "The edge's group, which says who may come."
  type        = string
}

variable "certificate_arn" {
  description = "The certificate of the host's name, from ACM. Needed where the edge is enabled."
  type        = string
  default     = ""

  validation {
    condition     = !var.enabled || startswith(var.certificate_arn, "arn:aws:acm:")
    error_message = "certificate_arn must name a certificate of ACM: the edge speaks TLS only."
  }
}

variable "node_port" {
  description = "Where the ingress answers, with TLS, on every system machine."
  type        = number
}

variable "log_bucket" {
  description = "The bucket that access logs go to."
  type        = string
}
