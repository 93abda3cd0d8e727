variable "kind" {
  description = "What the machine becomes: a control-plane node or a worker."
  type        = string

  validation {
    condition     = contains(["control-plane", "worker"], var.kind)
    error_message = "kind is \"control-plane\" or \"worker\"."
  }
}

variable "settings" {
  description = "OPTML_* settings that the scripts read. They stand in user-data, which anybody with the machine can read: nothing secret."
  type        = map(string)

  validation {
    condition     = alltrue([for key in keys(var.settings) : can(regex("^OPTML_[A-Z_]+$", key))])
    error_message = "A setting's name begins with OPTML_."
  }

  validation {
    condition     = alltrue([for value in values(var.settings) : !can(regex("['\\n]", value))])
    error_message = "A setting's value holds no quote and no line break."
  }

  # The form of kubeadm's tokens, and of its certificate keys.
  validation {
    condition     = alltrue([for value in values(var.settings) : !can(regex("[a-z0-9]{6}\\.[a-z0-9]{16}|[0-9a-f]{64}", value))])
    error_message = "A setting looks like a join secret: these go through SSM only, never into user-data."
  }
}

variable "addons_lock" {
  description = "Text of addons/addons.lock: a line `name version url sha256` for all that a node downloads."
  type        = string

  validation {
    condition = alltrue([for line in split("\n", var.addons_lock) :
      can(regex("^[a-z0-9-]+ [^ ]+ https://[^ ]+ [0-9a-f]{64}$", line)) if trimspace(line) != "" && !startswith(line, "#")
    ])
    error_message = "addons.lock has entries without a checksum (or without https): run deploy/terraform/addons/pin first. Nothing is installed unchecked."
  }
}
