resource "aws_lb" "edge" {
  # checkov:skip=CKV2_AWS_28: the groups admit named ranges only; a web firewall is the operator's choice
  count = var.enabled ? 1 : 0

  name                       = "${var.name}-edge"
  load_balancer_type         = "application"
  internal                   = var.internal
  subnets                    = var.subnet_ids
  security_groups            = [var.security_group_id]
  drop_invalid_header_fields = true
  enable_deletion_protection = true

  access_logs {
    bucket  = var.log_bucket
    prefix  = "edge"
    enabled = true
  }
}

resource "aws_lb_target_group" "ingress" {
  count = var.enabled ? 1 : 0

  name        = "${var.name}-ingress"
  vpc_id      = var.vpc_id
  target_type = "instance"
  port        = var.node_port
  protocol    = "HTTPS"

  health_check {
    protocol = "HTTPS"
    path     = "/healthz"
    matcher  = "200"
  }
}

# There is no listener for plain HTTP, not even one that redirects: a token in a first request would already be told.
resource "aws_lb_listener" "https" {
  count = var.enabled ? 1 : 0

  load_balancer_arn = aws_lb.edge[0].arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.ingress[0].arn
  }
}
