locals {
  # One node a zone, as far as zones go; with five nodes in three zones, two zones hold two.
  nodes = { for index in range(var.node_count) : tostring(index) => index % length(var.zones) }
}

module "bootstrap" {
  source   = "../bootstrap"
  for_each = local.nodes

  kind        = "control-plane"
  addons_lock = var.addons_lock
  settings = merge(var.node_settings, {
    OPTML_API_HOST       = aws_lb.api.dns_name
    OPTML_NODE           = "control-${each.key}"
    OPTML_STATE_VOLUME   = aws_ebs_volume.state[each.key].id
    OPTML_ELECTION_TABLE = aws_dynamodb_table.election.name
    OPTML_NODE_LABELS    = ""
    OPTML_NODE_TAINTS    = ""
  })
}

# Which node initialises the cluster, and which one publishes, is decided by a write that only one of them can make.
resource "aws_dynamodb_table" "election" {
  name                        = "${var.name}-election"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "office"
  deletion_protection_enabled = true

  attribute {
    name = "office"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }
}

# A node's address and its state outlive its machine: a new machine comes back as the same member of etcd.
resource "aws_network_interface" "nodes" {
  for_each = local.nodes

  subnet_id       = var.subnet_ids[each.value]
  security_groups = [var.security_group_ids.control_plane]
  tags            = { Name = "${var.name}-control-${each.key}" }
}

resource "aws_ebs_volume" "state" {
  for_each = local.nodes

  availability_zone = var.zones[each.value]
  type              = "gp3"
  size              = var.etcd_disk_gib
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  final_snapshot    = true
  tags              = { Name = "${var.name}-control-${each.key}" }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_instance" "nodes" {
  for_each = local.nodes

  ami                         = var.ami_id
  instance_type               = var.instance_type
  iam_instance_profile        = var.instance_profile
  user_data_base64            = module.bootstrap[each.key].user_data_base64
  user_data_replace_on_change = false
  monitoring                  = true
  ebs_optimized               = true
  tags                        = { Name = "${var.name}-control-${each.key}", "kubernetes.io/cluster/${var.name}" = "owned" }

  primary_network_interface {
    network_interface_id = aws_network_interface.nodes[each.key].id
  }

  # One hop: a pod is a hop away from its node, and gets no answer.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    encrypted   = true
    kms_key_id  = var.kms_key_arn
    volume_type = "gp3"
    volume_size = 40
  }

  lifecycle {
    # A new image or new user-data must not replace all nodes at once: `terraform apply -replace` takes them one by one.
    ignore_changes = [ami, user_data_base64]
  }
}

resource "aws_volume_attachment" "state" {
  for_each = local.nodes

  device_name                    = "/dev/sdf"
  instance_id                    = aws_instance.nodes[each.key].id
  volume_id                      = aws_ebs_volume.state[each.key].id
  stop_instance_before_detaching = true
}

resource "aws_lb" "api" {
  # checkov:skip=CKV2_AWS_28: a network load balancer has no web firewall
  name                             = "${var.name}-api"
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = var.subnet_ids
  security_groups                  = [var.security_group_ids.api_balancer]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = true

  access_logs {
    bucket  = var.log_bucket
    prefix  = "api"
    enabled = true
  }
}

resource "aws_lb_target_group" "api" {
  name        = "${var.name}-api"
  vpc_id      = var.vpc_id
  target_type = "ip"
  port        = 6443
  protocol    = "TCP"
  # A node that asks for itself through the balancer would otherwise get an answer from its own address, and drop it.
  preserve_client_ip     = "false"
  deregistration_delay   = "60"
  connection_termination = true

  health_check {
    protocol            = "HTTPS"
    path                = "/readyz"
    port                = "6443"
    matcher             = "200"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_target_group_attachment" "api" {
  for_each = local.nodes

  target_group_arn = aws_lb_target_group.api.arn
  target_id        = aws_network_interface.nodes[each.key].private_ip
}

resource "aws_lb_listener" "api" {
  # checkov:skip=CKV_AWS_2: TLS passes through to the API servers, whose certificates clients know
  # checkov:skip=CKV_AWS_103: TLS passes through to the API servers
  load_balancer_arn = aws_lb.api.arn
  port              = 6443
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api.arn
  }
}
