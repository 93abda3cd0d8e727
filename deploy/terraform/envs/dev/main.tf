locals {
  name = "optml-dev"
}

# Small and cheap: one control-plane node, one NAT gateway, no edge.
module "stack" {
  source = "../../modules/stack"

  name                = local.name
  region              = var.region
  account_id          = var.account_id
  zones               = ["${var.region}a", "${var.region}b"]
  nat_per_zone        = false
  control_plane_count = 1
  kubernetes_version  = "1.37.1"
  ami_id              = var.ami_id
  addons_lock         = file("${path.module}/../../addons/addons.lock")
  visibility_s        = 30
  queue_prefix        = "dev-"
  cache_enabled       = true
  alarm_email         = var.alarm_email
  monthly_budget_usd  = 300

  classes = {
    cpu-small = {
      instance_types = ["c7i.large", "c7a.large", "c6i.large", "c6a.large"]
      cpus           = 2
      memory_gib     = 4
      max_size       = 5
    }
  }
}
