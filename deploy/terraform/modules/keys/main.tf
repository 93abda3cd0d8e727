locals {
  administration = {
    Sid       = "GovernedByTheAccountsRoles"
    Effect    = "Allow"
    Principal = { AWS = "arn:aws:iam::${var.account_id}:root" }
    Action    = "kms:*"
    # In a key's policy, "*" is this key.
    Resource = "*"
  }

  alarms = {
    Sid       = "AlarmsAreSealed"
    Effect    = "Allow"
    Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = "*"
    Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
  }
}

# Volumes, buckets, images, tables.
resource "aws_kms_key" "data" {
  description             = "${var.name}: data at rest"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = jsonencode({ Version = "2012-10-17", Statement = [local.administration, local.alarms] })
}

# What lets a machine into the cluster. Apart, so that a role for data opens no doors.
resource "aws_kms_key" "join" {
  description             = "${var.name}: join secrets"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = jsonencode({ Version = "2012-10-17", Statement = [local.administration] })
}

resource "aws_kms_alias" "keys" {
  for_each = { data = aws_kms_key.data.key_id, join = aws_kms_key.join.key_id }

  name          = "alias/${var.name}-${each.key}"
  target_key_id = each.value
}
