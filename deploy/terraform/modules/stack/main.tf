locals {
  has_edge = length(var.edge_cidrs) > 0

  node_settings = {
    OPTML_CLUSTER            = var.name
    OPTML_REGION             = var.region
    OPTML_KUBERNETES_VERSION = var.kubernetes_version
    OPTML_POD_CIDR           = var.pod_cidr
    OPTML_ISSUER_URL         = module.identity.issuer_url
    OPTML_ISSUER_BUCKET      = module.identity.bucket.name
    OPTML_SNAPSHOT_BUCKET    = module.storage.buckets.snapshots.name
    OPTML_JOIN_KEY           = module.keys.join_arn
    OPTML_CSI_ROLE           = module.identity.roles["ebs-csi"]
  }

  machines = merge(var.classes, { system = {
    instance_types = var.system_types, cpus = 2, memory_gib = 8, gpus = 0, min_size = 2, max_size = 4
    spot           = false, on_demand_base = 0, disk_gib = 50, ami_id = null
  } })
}

module "keys" {
  source = "../keys"

  name       = var.name
  account_id = var.account_id
}

module "storage" {
  source = "../storage"

  bucket_prefix = "${var.name}-${var.account_id}"
  account_id    = var.account_id
  kms_key_arn   = module.keys.data_arn
}

module "network" {
  source = "../network"

  name           = var.name
  region         = var.region
  zones          = var.zones
  nat_per_zone   = var.nat_per_zone
  edge_cidrs     = var.edge_cidrs
  log_bucket_arn = module.storage.buckets.logs.arn
}

module "queue" {
  source = "../queue"

  classes      = toset(keys(var.classes))
  prefix       = var.queue_prefix
  visibility_s = var.visibility_s
}

module "registry" {
  source = "../registry"

  name        = var.name
  kms_key_arn = module.keys.data_arn
}

module "cache" {
  source = "../cache"

  name               = var.name
  enabled            = var.cache_enabled
  node_type          = var.cache_node_type
  subnet_ids         = module.network.private_subnets
  security_group_id  = module.network.security_groups["cache"]
  kms_key_arn        = module.keys.data_arn
  password_parameter = "/${var.name}/store-password"
}

module "identity" {
  source = "../identity"

  name       = var.name
  account_id = var.account_id
  log_bucket = module.storage.buckets.logs.name
  pods       = local.pods
}

module "iam" {
  source = "../iam"

  name                = var.name
  region              = var.region
  account_id          = var.account_id
  join_key_arn        = module.keys.join_arn
  data_key_arn        = module.keys.data_arn
  election_table_arn  = module.control_plane.election_table.arn
  snapshot_bucket_arn = module.storage.buckets.snapshots.arn
  issuer_bucket_arn   = module.identity.bucket.arn
  repository_arns     = [for repository in module.registry.repositories : repository.arn]
}

module "control_plane" {
  source = "../control_plane"

  name             = var.name
  node_count       = var.control_plane_count
  ami_id           = var.ami_id
  vpc_id           = module.network.vpc_id
  zones            = var.zones
  subnet_ids       = module.network.private_subnets
  instance_profile = module.iam.instance_profiles["control_plane"]
  kms_key_arn      = module.keys.data_arn
  log_bucket       = module.storage.buckets.logs.name
  node_settings    = local.node_settings
  addons_lock      = var.addons_lock

  security_group_ids = {
    control_plane = module.network.security_groups["control_plane"]
    api_balancer  = module.network.security_groups["api_balancer"]
  }
}

module "workers" {
  source = "../workers"

  name              = var.name
  classes           = local.machines
  ami_id            = var.ami_id
  subnet_ids        = module.network.private_subnets
  security_group_id = module.network.security_groups["workers"]
  instance_profile  = module.iam.instance_profiles["workers"]
  node_settings     = local.node_settings
  addons_lock       = var.addons_lock
  target_group_arns = { system = module.edge.target_group_arns }
}

module "edge" {
  source = "../edge"

  name              = var.name
  enabled           = local.has_edge
  vpc_id            = module.network.vpc_id
  subnet_ids        = module.network.public_subnets
  security_group_id = module.network.security_groups["edge"]
  certificate_arn   = var.certificate_arn
  node_port         = module.network.edge_node_port
  log_bucket        = module.storage.buckets.logs.name
}

module "alarms" {
  source = "../alarms"

  name               = var.name
  kms_key_arn        = module.keys.data_arn
  email              = var.alarm_email
  monthly_budget_usd = var.monthly_budget_usd
  queues             = { for class, queue in module.queue.queues : class => { name = queue.name, dead_name = queue.dead_name } }
  api_balancer       = module.control_plane.api_balancer
}
