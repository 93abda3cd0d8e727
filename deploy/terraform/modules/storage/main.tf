locals {
  # Days until an object goes, and until its former versions go. null: it stays.
  buckets = {
    archive   = { days = null, former_days = 90 }
    snapshots = { days = var.snapshot_days, former_days = 7 }
    logs      = { days = 90, former_days = 7 }
  }
}

resource "aws_s3_bucket" "all" {
  # checkov:skip=CKV_AWS_144: a copy in a second region is the operator's choice, not ours
  # checkov:skip=CKV_AWS_145: only the logs' bucket has another key, which load balancers need; tests hold the rest
  # checkov:skip=CKV_AWS_18: only the logs' bucket keeps no log of itself; tests hold the rest
  # checkov:skip=CKV2_AWS_62: nothing waits for events of these buckets
  for_each = local.buckets

  bucket = "${var.bucket_prefix}-${each.key}"

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "all" {
  for_each = local.buckets

  bucket                  = aws_s3_bucket.all[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "all" {
  for_each = local.buckets

  bucket = aws_s3_bucket.all[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "all" {
  for_each = local.buckets

  bucket = aws_s3_bucket.all[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "all" {
  for_each = local.buckets

  bucket = aws_s3_bucket.all[each.key].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      # Load balancers deliver logs only where S3 keeps the key itself.
      sse_algorithm     = each.key == "logs" ? "AES256" : "aws:kms"
      kms_master_key_id = each.key == "logs" ? null : var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "all" {
  for_each = local.buckets

  bucket = aws_s3_bucket.all[each.key].id

  rule {
    id     = "age"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = each.value.former_days
    }

    dynamic "expiration" {
      for_each = each.value.days == null ? [] : [each.value.days]

      content {
        days = expiration.value
      }
    }
  }
}

resource "aws_s3_bucket_logging" "all" {
  for_each = { for name, ages in local.buckets : name => ages if name != "logs" }

  bucket        = aws_s3_bucket.all[each.key].id
  target_bucket = aws_s3_bucket.all["logs"].id
  target_prefix = "s3/${each.key}/"
}

resource "aws_s3_bucket_policy" "all" {
  for_each = local.buckets

  bucket = aws_s3_bucket.all[each.key].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.tls_only[each.key]], each.key == "logs" ? [local.delivery] : [])
  })
}

locals {
  tls_only = { for name in keys(local.buckets) : name => {
    Sid       = "OnlyOverTLS"
    Effect    = "Deny"
    Principal = "*"
    Action    = "s3:*"
    Resource  = [aws_s3_bucket.all[name].arn, "${aws_s3_bucket.all[name].arn}/*"]
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  } }

  delivery = {
    Sid    = "LogsAreDelivered"
    Effect = "Allow"
    Principal = { Service = [
      "delivery.logs.amazonaws.com", "logging.s3.amazonaws.com", "logdelivery.elasticloadbalancing.amazonaws.com",
    ] }
    Action    = "s3:PutObject"
    Resource  = "${aws_s3_bucket.all["logs"].arn}/*"
    Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
  }
}
