variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "region" {
  description = "The region of the parameters."
  type        = string
}

variable "account_id" {
  description = "The account of the parameters."
  type        = string
}

variable "join_key_arn" {
  description = "The key of join secrets."
  type        = string
}

variable "data_key_arn" {
  description = "The key of data at rest."
  type        = string
}

variable "election_table_arn" {
  description = "The table that tells control-plane nodes which of them initialises and which publishes."
  type        = string
}

variable "snapshot_bucket_arn" {
  description = "Where snapshots of etcd go."
  type        = string
}

variable "issuer_bucket_arn" {
  description = "Where the issuer's public documents go."
  type        = string
}

variable "repository_arns" {
  description = "Repositories that worker nodes pull images from."
  type        = list(string)
}
