mock_provider "aws" {
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:loadbalancer/app/optml-edge/1" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/optml-ingress/1" }
  }
}

variables {
  name              = "optml"
  enabled           = true
  vpc_id            = "vpc-1"
  subnet_ids        = ["subnet-a", "subnet-b"]
  security_group_id = "sg-edge"
  certificate_arn   = "arn:aws:acm:eu-central-1:111122223333:certificate/1"
  node_port         = 30443
  log_bucket        = "optml-logs"
}

run "tls_and_nothing_else" {
  assert {
    condition     = [for listener in aws_lb_listener.https : [listener.port, listener.protocol, listener.ssl_policy]] == [[443, "HTTPS", "ELBSecurityPolicy-TLS13-1-2-2021-06"]]
    error_message = "One listener, with TLS 1.2 or later."
  }

  assert {
    condition     = aws_lb_target_group.ingress[0].protocol == "HTTPS" && aws_lb_target_group.ingress[0].port == 30443
    error_message = "TLS up to the ingress."
  }

  assert {
    condition     = aws_lb.edge[0].drop_invalid_header_fields && aws_lb.edge[0].enable_deletion_protection
    error_message = "Odd headers are dropped; the balancer is not removed by accident."
  }
}

run "no_certificate" {
  command = plan

  variables {
    certificate_arn = ""
  }

  expect_failures = [var.certificate_arn]
}

run "no_edge" {
  variables {
    enabled         = false
    certificate_arn = ""
  }

  assert {
    condition     = output.host == "" && output.target_group_arns == []
    error_message = "Nothing is made."
  }
}
