mock_provider "aws" {
  mock_resource "aws_cloudfront_distribution" {
    defaults = { domain_name = "issuer.test", arn = "arn:aws:cloudfront::111122223333:distribution/ISSUER" }
  }
}

variables {
  name       = "optml"
  account_id = "111122223333"
  log_bucket = "optml-logs"
  pods       = { worker = { namespace = "optml", service_account = "worker", policy = "{}" } }
}

run "a_role_is_one_service_accounts" {
  assert {
    condition = jsondecode(aws_iam_role.pods["worker"].assume_role_policy).Statement[0].Condition == { StringEquals = {
      "issuer.test:aud" = "sts.amazonaws.com"
      "issuer.test:sub" = "system:serviceaccount:optml:worker"
    } }
    error_message = "Named in full: no other pod takes the role."
  }

  assert {
    condition     = aws_iam_openid_connect_provider.cluster.url == "https://issuer.test" && output.issuer_url == "https://issuer.test"
    error_message = "AWS asks the issuer that tokens name."
  }
}

run "the_bucket_is_read_through_the_distribution_alone" {
  assert {
    condition     = aws_s3_bucket_public_access_block.issuer.restrict_public_buckets && jsondecode(aws_s3_bucket_policy.issuer.policy).Statement[0].Condition.StringEquals["aws:SourceArn"] == "arn:aws:cloudfront::111122223333:distribution/ISSUER"
    error_message = "Nobody reads the bucket itself."
  }

  assert {
    condition     = one(aws_cloudfront_distribution.issuer.default_cache_behavior).viewer_protocol_policy == "https-only"
    error_message = "Never over plain HTTP."
  }
}
