# Instances give their own credentials to no pod (IMDSv2, one hop). A pod that needs AWS shows the token of its service
# account instead, and AWS asks this issuer for the keys that signed it. Public keys only; every node may be rebuilt.

resource "aws_s3_bucket" "issuer" {
  # checkov:skip=CKV_AWS_144: two documents that the publisher writes again twice an hour
  # checkov:skip=CKV_AWS_145: public keys, read by everybody through CloudFront
  # checkov:skip=CKV2_AWS_61: two objects, always the same
  # checkov:skip=CKV2_AWS_62: nothing waits for events of this bucket
  bucket = "${var.name}-${var.account_id}-issuer"
}

resource "aws_s3_bucket_public_access_block" "issuer" {
  bucket                  = aws_s3_bucket.issuer.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "issuer" {
  bucket = aws_s3_bucket.issuer.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "issuer" {
  bucket = aws_s3_bucket.issuer.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_logging" "issuer" {
  bucket        = aws_s3_bucket.issuer.id
  target_bucket = var.log_bucket
  target_prefix = "s3/issuer/"
}

resource "aws_s3_bucket_policy" "issuer" {
  bucket = aws_s3_bucket.issuer.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "ReadThroughTheDistribution"
        Effect    = "Allow"
        Principal = { Service = "cloudfront.amazonaws.com" }
        Action    = "s3:GetObject"
        Resource  = "${aws_s3_bucket.issuer.arn}/*"
        Condition = { StringEquals = { "aws:SourceArn" = aws_cloudfront_distribution.issuer.arn } }
      },
      {
        Sid       = "OnlyOverTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.issuer.arn, "${aws_s3_bucket.issuer.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudfront_origin_access_control" "issuer" {
  name                              = "${var.name}-issuer"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_distribution" "issuer" {
  # checkov:skip=CKV_AWS_68: two public documents need no firewall
  # checkov:skip=CKV2_AWS_47: two public documents need no firewall
  # checkov:skip=CKV_AWS_86: the bucket's own log says who asked
  # checkov:skip=CKV_AWS_305: there is no page at the root
  # checkov:skip=CKV_AWS_310: S3 in one region; signing keys do not change while it is away
  # checkov:skip=CKV_AWS_374: IAM may ask from any place
  # checkov:skip=CKV_AWS_174: the distribution's own name, for which AWS fixes the versions of TLS
  # checkov:skip=CKV2_AWS_42: the distribution's own name is the issuer's
  # checkov:skip=CKV2_AWS_32: no browser reads these documents
  enabled = true
  comment = "${var.name}: the issuer of service-account tokens"

  origin {
    domain_name              = aws_s3_bucket.issuer.bucket_regional_domain_name
    origin_id                = "issuer"
    origin_access_control_id = aws_cloudfront_origin_access_control.issuer.id
  }

  default_cache_behavior {
    target_origin_id       = "issuer"
    viewer_protocol_policy = "https-only"
    allowed_methods        = ["GET", "HEAD"]
    cached_methods         = ["GET", "HEAD"]
    # AWS's own policy "CachingOptimized".
    cache_policy_id = "658327ea-f89d-4fab-a63d-7e88639e58f6"
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = true
  }
}

resource "aws_iam_openid_connect_provider" "cluster" {
  url            = "https://${aws_cloudfront_distribution.issuer.domain_name}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "pods" {
  for_each = var.pods

  name                 = "${var.name}-pod-${each.key}"
  max_session_duration = 3600
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.cluster.arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = {
        "${aws_cloudfront_distribution.issuer.domain_name}:aud" = "sts.amazonaws.com"
        "${aws_cloudfront_distribution.issuer.domain_name}:sub" = "system:serviceaccount:${each.value.namespace}:${each.value.service_account}"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "pods" {
  for_each = var.pods

  name   = "access"
  role   = aws_iam_role.pods[each.key].id
  policy = each.value.policy
}
