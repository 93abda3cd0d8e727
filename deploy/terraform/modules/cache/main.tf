data "aws_ssm_parameter" "password" {
  count = var.enabled ? 1 : 0

  name = var.password_parameter
}

resource "aws_elasticache_subnet_group" "store" {
  count = var.enabled ? 1 : 0

  name       = "${var.name}-store"
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "store" {
  count = var.enabled ? 1 : 0

  name   = "${var.name}-store"
  family = "valkey8"

  # A full store must refuse, never forget.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_elasticache_replication_group" "store" {
  count = var.enabled ? 1 : 0

  replication_group_id       = "${var.name}-store"
  description                = "${var.name}: the truth about every experiment"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.node_type
  port                       = 6379
  num_cache_clusters         = 1 + var.replicas
  automatic_failover_enabled = true
  multi_az_enabled           = true
  parameter_group_name       = aws_elasticache_parameter_group.store[0].name
  subnet_group_name          = aws_elasticache_subnet_group.store[0].name
  security_group_ids         = [var.security_group_id]
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token                 = data.aws_ssm_parameter.password[0].value
  snapshot_retention_limit   = 7
  final_snapshot_identifier  = "${var.name}-store-final"
  # Outside of the window a change would cut workers off in the middle of their day.
  apply_immediately          = false
  auto_minor_version_upgrade = true

  lifecycle {
    prevent_destroy = true
  }
}
