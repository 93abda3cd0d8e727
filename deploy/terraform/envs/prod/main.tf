locals {
  name = "optml-prod"
}

module "stack" {
  source = "../../modules/stack"

  name                = local.name
  region              = var.region
  account_id          = var.account_id
  zones               = ["${var.region}a", "${var.region}b", "${var.region}c"]
  nat_per_zone        = true
  control_plane_count = 3
  kubernetes_version  = "1.37.1"
  ami_id              = var.ami_id
  addons_lock         = file("${path.module}/../../addons/addons.lock")
  visibility_s        = 30
  queue_prefix        = "prod-"
  cache_enabled       = true
  edge_cidrs          = var.edge_cidrs
  certificate_arn     = var.certificate_arn
  alarm_email         = var.alarm_email
  monthly_budget_usd  = 5000

  classes = {
    cpu-small = {
      instance_types = ["c7i.large", "c7a.large", "c6i.large", "c6a.large", "c5.large"]
      cpus           = 2
      memory_gib     = 4
      max_size       = 100
    }
    cpu-large = {
      instance_types = ["c7i.4xlarge", "c7a.4xlarge", "c6i.4xlarge", "c6a.4xlarge"]
      cpus           = 16
      memory_gib     = 32
      max_size       = 20
    }
    # Needs an `ami_id` with NVIDIA's driver before its first node: the cluster's own image has none.
    gpu = {
      instance_types = ["g4dn.xlarge", "g5.xlarge", "g6.xlarge", "g4dn.2xlarge"]
      cpus           = 4
      memory_gib     = 16
      gpus           = 1
      max_size       = 8
    }
  }
}
