variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "classes" {
  description = <<-TEXT
    Resource classes. `instance_types`: at least four of equal CPU and memory, so that spot capacity is found and
    cluster-autoscaler's picture of a new node is right. `spot`: whether all but `on_demand_base` machines are spot.
    `ami_id`: an image of its own (drivers of an accelerator), else the cluster's. `gpus`: accelerators of a machine.
  TEXT
  type = map(object({
    instance_types = list(string)
    cpus           = number
    memory_gib     = number
    gpus           = optional(number, 0)
    min_size       = optional(number, 0)
    max_size       = number
    spot           = optional(bool, true)
    on_demand_base = optional(number, 0)
    disk_gib       = optional(number, 50)
    ami_id         = optional(string)
  }))

  validation {
    condition     = alltrue([for class in var.classes : length(distinct(class.instance_types)) >= 4 && length(distinct(class.instance_types)) == length(class.instance_types)])
    error_message = "A class names at least four different instance types: one type's spot capacity runs out."
  }

  validation {
    condition     = alltrue([for class in var.classes : class.min_size >= 0 && class.max_size >= 1 && class.min_size <= class.max_size])
    error_message = "0 <= min_size <= max_size, and max_size is at least 1."
  }

  validation {
    condition     = alltrue([for name in keys(var.classes) : can(regex("^[a-z0-9][a-z0-9-]{0,39}$", name))])
    error_message = "A class is 1 to 40 of a-z, 0-9 and '-', beginning with a letter or digit."
  }

  validation {
    condition     = alltrue([for class in var.classes : class.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", class.ami_id))])
    error_message = "ami_id is an image's id, such as ami-0123456789abcdef0."
  }
}

variable "ami_id" {
  description = "The image of nodes without their own: Debian 13, amd64."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id is an image's id, such as ami-0123456789abcdef0."
  }
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "The workers' group."
  type        = string
}

variable "instance_profile" {
  description = "The workers' instance profile."
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

variable "target_group_arns" {
  description = "By class: target groups of the edge that its machines belong to."
  type        = map(list(string))
  default     = {}
}
