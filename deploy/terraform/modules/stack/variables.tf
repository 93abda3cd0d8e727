variable "name" {
  description = "The cluster's name; everything is named after it."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "account_id" {
  description = "The account that the provider is bound to."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account's id has twelve digits."
  }
}

variable "zones" {
  description = "Availability zones."
  type        = list(string)
}

variable "nat_per_zone" {
  description = "A NAT gateway in every zone, or one for all."
  type        = bool
}

variable "control_plane_count" {
  description = "Control-plane nodes: 1, 3 or 5."
  type        = number

  validation {
    condition     = contains([1, 3, 5], var.control_plane_count)
    error_message = "control_plane_count is 1, 3 or 5."
  }
}

variable "kubernetes_version" {
  description = "Version of Kubernetes, such as 1.37.1. Its minor version must be that of addons.lock's key."
  type        = string

  validation {
    condition     = can(regex("^1\\.[0-9]+\\.[0-9]+$", var.kubernetes_version))
    error_message = "kubernetes_version is like 1.37.1."
  }
}

variable "ami_id" {
  description = "Image of all nodes: Debian 13, amd64, of the publisher's account 136693071363. Pinned, so that a node that comes next month is like one of today."
  type        = string
}

variable "pod_cidr" {
  description = "Addresses of pods, outside of the network's."
  type        = string
  default     = "10.244.0.0/16"
}

variable "addons_lock" {
  description = "Text of addons/addons.lock."
  type        = string
}

variable "classes" {
  description = "Resource classes of workers, as in module workers. Each has a queue."
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
    condition     = !contains(keys(var.classes), "system")
    error_message = "The class \"system\" is the machines for API, controllers and add-ons; it has no queue."
  }
}

variable "system_types" {
  description = "At least four types with 2 CPUs and 8 GiB for API, controllers and add-ons, on demand."
  type        = list(string)
  default     = ["m7i.large", "m7a.large", "m6i.large", "m6a.large"]
}

variable "visibility_s" {
  description = "OPTML_VISIBILITY_S, for queues and workers alike."
  type        = number
}

variable "queue_prefix" {
  description = "OPTML_SQS_QUEUE_PREFIX."
  type        = string
}

variable "cache_enabled" {
  description = "ElastiCache for the store, or (false) a store inside of the cluster."
  type        = bool
}

variable "cache_node_type" {
  description = "Type of the store's nodes."
  type        = string
  default     = "cache.t4g.small"
}

variable "edge_cidrs" {
  description = "Who may reach the API from outside. Empty: there is no edge, and the API is reached by port forwarding."
  type        = list(string)
  default     = []
}

variable "certificate_arn" {
  description = "The edge's certificate."
  type        = string
  default     = ""
}

variable "alarm_email" {
  description = "Who is told."
  type        = string
}

variable "monthly_budget_usd" {
  description = "US dollars a month."
  type        = number
}
