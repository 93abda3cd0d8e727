variable "classes" {
  description = "Resource classes; each gets a queue `<prefix>optml-<class>` and one for dead letters."
  type        = set(string)

  validation {
    condition     = alltrue([for class in var.classes : can(regex("^[a-z0-9][a-z0-9-]{0,39}$", class))])
    error_message = "A class is 1 to 40 of a-z, 0-9 and '-', beginning with a letter or digit."
  }

  # "gpu" and "gpu-dead" would contend for one name.
  validation {
    condition     = length(setintersection(var.classes, [for class in var.classes : "${class}-dead"])) == 0
    error_message = "No class may be another's name with '-dead' added: that is the other's queue of dead letters."
  }
}

variable "prefix" {
  description = "What comes before every queue's name: the workers' OPTML_SQS_QUEUE_PREFIX. Empty for none."
  type        = string
  default     = ""

  # Two characters of SQS's 80 are to spare: prefix 20 + "optml-" + class 40 + "-dead".
  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{0,20}$", var.prefix))
    error_message = "The prefix is at most 20 of A-Z, a-z, 0-9, '-' and '_'."
  }
}

variable "visibility_s" {
  description = "Seconds for which a delivered message is hidden unless its worker asks for more: OPTML_VISIBILITY_S."
  type        = number

  validation {
    condition     = var.visibility_s >= 1 && var.visibility_s <= 43200 && floor(var.visibility_s) == var.visibility_s
    error_message = "visibility_s is a whole number from 1 to 43200."
  }
}

variable "max_receive_count" {
  description = "Deliveries after which a message counts as dead. The store publishes a lost trial anew, so none is lost with it."
  type        = number
  default     = 5

  validation {
    condition     = var.max_receive_count >= 3 && var.max_receive_count <= 10
    error_message = "max_receive_count is 3 to 10: fewer and a rolling update fills the dead letters."
  }
}
