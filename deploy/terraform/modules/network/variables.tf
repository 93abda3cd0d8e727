variable "name" {
  description = "The cluster's name; resources are named after it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,24}$", var.name))
    error_message = "The name is 2 to 25 of a-z, 0-9 and '-', beginning with a letter."
  }
}

variable "region" {
  description = "The region, for the names of endpoints' services."
  type        = string
}

variable "cidr" {
  description = "The network's addresses; a /16 leaves room for one /20 of nodes a zone."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && can(regex("/1[6-8]$", var.cidr))
    error_message = "cidr is an IPv4 range from /16 to /18."
  }
}

variable "zones" {
  description = "Availability zones; one control-plane node stands in each, as far as they go."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 5 && length(distinct(var.zones)) == length(var.zones)
    error_message = "Name 2 to 5 different zones: the load balancer of the edge needs two."
  }
}

variable "nat_per_zone" {
  description = "A NAT gateway in every zone (a zone's failure stays its own), or one for all (cheaper)."
  type        = bool
  default     = true
}

variable "edge_cidrs" {
  description = "Who may reach the edge's load balancer. Empty: nobody."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.edge_cidrs : can(cidrhost(cidr, 0))])
    error_message = "edge_cidrs holds IPv4 ranges."
  }
}

variable "edge_node_port" {
  description = "The port on every node at which the edge's load balancer finds the ingress."
  type        = number
  default     = 30443

  validation {
    condition     = var.edge_node_port >= 30000 && var.edge_node_port <= 32767
    error_message = "A node port is 30000 to 32767."
  }
}

variable "log_bucket_arn" {
  description = "The bucket that flow logs go to."
  type        = string
}
