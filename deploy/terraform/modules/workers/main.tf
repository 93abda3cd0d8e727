module "bootstrap" {
  source   = "../bootstrap"
  for_each = var.classes

  kind        = "worker"
  addons_lock = var.addons_lock
  settings = merge(var.node_settings, {
    OPTML_NODE_LABELS = local.labels[each.key]
    OPTML_NODE_TAINTS = join(",", [for key, value in local.taints[each.key] : "${key}=${value}"])
  })
}

locals {
  labels = { for name, class in var.classes : name => "optml.dev/class=${name}" }

  # Only workers tolerate these (deploy/k8s): nothing else may fill a machine that can be taken away, or one that is dear.
  taints = { for name, class in var.classes : name => merge(
    class.spot ? { "optml.dev/spot" = "true:NoSchedule" } : {},
    class.gpus > 0 ? { "nvidia.com/gpu" = "true:NoSchedule" } : {},
  ) }

  # What cluster-autoscaler takes a node of an empty group to be like.
  scale_from_zero = { for name, class in var.classes : name => merge(
    {
      "k8s.io/cluster-autoscaler/enabled"                                   = "true"
      "k8s.io/cluster-autoscaler/${var.name}"                               = "owned"
      "k8s.io/cluster-autoscaler/node-template/label/optml.dev/class"       = name
      "k8s.io/cluster-autoscaler/node-template/resources/cpu"               = tostring(class.cpus)
      "k8s.io/cluster-autoscaler/node-template/resources/memory"            = "${class.memory_gib}Gi"
      "k8s.io/cluster-autoscaler/node-template/resources/ephemeral-storage" = "${class.disk_gib}Gi"
    },
    { for key, value in local.taints[name] : "k8s.io/cluster-autoscaler/node-template/taint/${key}" => value },
    class.gpus > 0 ? { "k8s.io/cluster-autoscaler/node-template/resources/nvidia.com/gpu" = tostring(class.gpus) } : {},
  ) }
}

resource "aws_launch_template" "workers" {
  for_each = var.classes

  name_prefix = "${var.name}-${each.key}-"
  image_id    = coalesce(each.value.ami_id, var.ami_id)
  user_data   = module.bootstrap[each.key].user_data_base64

  vpc_security_group_ids = [var.security_group_id]

  iam_instance_profile {
    name = var.instance_profile
  }

  # One hop: a pod is a hop away from its node, and gets no answer.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  monitoring {
    enabled = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      # The account's own key for volumes: Auto Scaling would need a grant for ours.
      encrypted             = true
      volume_type           = "gp3"
      volume_size           = each.value.disk_gib
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    # The cloud provider takes a machine with this tag for one of the cluster's.
    tags = { Name = "${var.name}-${each.key}", "kubernetes.io/cluster/${var.name}" = "owned" }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "workers" {
  for_each = var.classes

  name                = "${var.name}-${each.key}"
  vpc_zone_identifier = var.subnet_ids
  min_size            = each.value.min_size
  max_size            = each.value.max_size
  target_group_arns   = lookup(var.target_group_arns, each.key, [])
  # Spot capacity may take hours. A wait that fails marks the group as tainted, and leaves its machines behind.
  wait_for_capacity_timeout = "0"
  # A spare machine comes before the one at risk goes.
  capacity_rebalance    = each.value.spot
  protect_from_scale_in = false
  health_check_type     = "EC2"
  # Moving machines to even out zones would end trials for no gain.
  suspended_processes = ["AZRebalance"]

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = each.value.on_demand_base
      on_demand_percentage_above_base_capacity = each.value.spot ? 0 : 100
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.workers[each.key].id
        version            = aws_launch_template.workers[each.key].latest_version
      }

      dynamic "override" {
        for_each = each.value.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  dynamic "tag" {
    for_each = local.scale_from_zero[each.key]

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false
    }
  }

  lifecycle {
    # cluster-autoscaler decides.
    ignore_changes = [desired_capacity]
  }
}
