variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "node_count" {
  description = "Control-plane nodes. Only odd counts gain anything: two etcd members survive no failure that one would not."
  type        = number
  default     = 3

  validation {
    condition     = contains([1, 3, 5], var.node_count)
    error_message = "node_count is 1, 3 or 5: an even number of etcd members survives no more failures than one fewer."
  }
}

variable "instance_type" {
  description = "The nodes' type."
  type        = string
  default     = "m7i.large"
}

variable "ami_id" {
  description = "The nodes' image: Debian 13, amd64."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id is an image's id, such as ami-0123456789abcdef0."
  }
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "zones" {
  description = "Zones, in the order of `subnet_ids`."
  type        = list(string)
}

variable "subnet_ids" {
  description = "Private subnets, one a zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) == length(var.zones)
    error_message = "subnet_ids has one subnet for each of zones."
  }
}

variable "security_group_ids" {
  description = "Groups of the nodes (control_plane) and of their load balancer (api_balancer)."
  type        = object({ control_plane = string, api_balancer = string })
}

variable "instance_profile" {
  description = "The nodes' instance profile."
  type        = string
}

variable "kms_key_arn" {
  description = "The key for data at rest."
  type        = string
}

variable "etcd_disk_gib" {
  description = "Size of the volume that a node's state lives on."
  type        = number
  default     = 40
}

variable "log_bucket" {
  description = "The bucket that access logs go to."
  type        = string
}

variable "node_settings" {
  description = "What every node is told (see module bootstrap). Nothing secret: it stands in user-data."
  type        = map(string)
}

variable "addons_lock" {
  description = "Text of addons/addons.lock."
  type        = string
}
