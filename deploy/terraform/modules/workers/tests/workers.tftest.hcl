mock_provider "aws" {}

variables {
  name              = "optml"
  ami_id            = "ami-0123456789abcdef0"
  subnet_ids        = ["subnet-a", "subnet-b"]
  security_group_id = "sg-workers"
  instance_profile  = "optml-workers"
  node_settings     = { OPTML_CLUSTER = "optml" }
  addons_lock       = "containerd 2.1.4 https://example.test/containerd.tar.gz 0000000000000000000000000000000000000000000000000000000000000000"

  classes = {
    cpu-small = { instance_types = ["c6i.large", "c6a.large", "c7i.large", "c7a.large"], cpus = 2, memory_gib = 4, max_size = 20 }
    gpu       = { instance_types = ["g4dn.xlarge", "g5.xlarge", "g6.xlarge", "gr6.xlarge"], cpus = 4, memory_gib = 16, gpus = 1, max_size = 4, ami_id = "ami-0aaaaaaaaaaaaaaaa" }
    system    = { instance_types = ["m6i.large", "m6a.large", "m7i.large", "m7a.large"], cpus = 2, memory_gib = 8, min_size = 2, max_size = 4, spot = false }
  }

  target_group_arns = { system = ["arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/optml/1"] }
}

run "machines_are_closed" {
  assert {
    condition     = alltrue([for template in aws_launch_template.workers : one(template.metadata_options).http_tokens == "required" && one(template.metadata_options).http_put_response_hop_limit == 1])
    error_message = "IMDSv2, one hop."
  }

  assert {
    condition     = alltrue([for template in aws_launch_template.workers : one(one(template.block_device_mappings).ebs).encrypted == "true"])
    error_message = "Disks are encrypted."
  }

  assert {
    condition     = alltrue([for template in aws_launch_template.workers : template.key_name == null && length(template.network_interfaces) == 0])
    error_message = "No SSH key, no public address."
  }
}

run "spot_is_spread_and_scales_from_zero" {
  assert {
    condition = alltrue([for class, group in aws_autoscaling_group.workers :
      length(one(one(group.mixed_instances_policy).launch_template).override) >= 4
      && one(one(group.mixed_instances_policy).instances_distribution).spot_allocation_strategy == "price-capacity-optimized"
    ])
    error_message = "At least four types, taken where capacity and price are best."
  }

  assert {
    condition     = { for class, group in aws_autoscaling_group.workers : class => one(one(group.mixed_instances_policy).instances_distribution).on_demand_percentage_above_base_capacity } == { cpu-small = 0, gpu = 0, system = 100 }
    error_message = "Spot for trials, on demand for the system."
  }

  assert {
    condition     = aws_autoscaling_group.workers["cpu-small"].min_size == 0 && alltrue([for group in aws_autoscaling_group.workers : group.wait_for_capacity_timeout == "0"])
    error_message = "From zero, and nobody waits for capacity."
  }

  assert {
    condition = { for tag in aws_autoscaling_group.workers["gpu"].tag : trimprefix(tag.key, "k8s.io/cluster-autoscaler/") => tag.value } == {
      "enabled"                                   = "true", "optml" = "owned"
      "node-template/label/optml.dev/class"       = "gpu"
      "node-template/taint/optml.dev/spot"        = "true:NoSchedule"
      "node-template/taint/nvidia.com/gpu"        = "true:NoSchedule"
      "node-template/resources/cpu"               = "4"
      "node-template/resources/memory"            = "16Gi"
      "node-template/resources/ephemeral-storage" = "50Gi"
      "node-template/resources/nvidia.com/gpu"    = "1"
    }
    error_message = "cluster-autoscaler knows a node of an empty group by its tags."
  }

  assert {
    condition     = aws_launch_template.workers["gpu"].image_id == "ami-0aaaaaaaaaaaaaaaa" && aws_launch_template.workers["cpu-small"].image_id == "ami-0123456789abcdef0"
    error_message = "A class may have an image of its own."
  }

  assert {
    condition     = { for class, group in aws_autoscaling_group.workers : class => length(group.target_group_arns == null ? [] : group.target_group_arns) } == { cpu-small = 0, gpu = 0, system = 1 }
    error_message = "The edge leads to the system's machines alone."
  }
}

run "a_node_knows_its_class" {
  assert {
    condition     = strcontains(module.bootstrap["gpu"].settings_text, "OPTML_NODE_LABELS='optml.dev/class=gpu'") && strcontains(module.bootstrap["gpu"].settings_text, "OPTML_NODE_TAINTS='nvidia.com/gpu=true:NoSchedule,optml.dev/spot=true:NoSchedule'")
    error_message = "The label and the taints are those that the tags promise."
  }
}

run "the_system_takes_any_pod" {
  assert {
    condition     = strcontains(module.bootstrap["system"].settings_text, "OPTML_NODE_TAINTS=''\n")
    error_message = "Machines on demand have no taint."
  }
}

run "three_types_are_too_few" {
  command = plan

  variables {
    classes = { cpu-small = { instance_types = ["c6i.large", "c6a.large", "c7i.large"], cpus = 2, memory_gib = 4, max_size = 20 } }
  }

  expect_failures = [var.classes]
}

run "more_at_least_than_at_most" {
  command = plan

  variables {
    classes = { cpu-small = { instance_types = ["c6i.large", "c6a.large", "c7i.large", "c7a.large"], cpus = 2, memory_gib = 4, min_size = 3, max_size = 2 } }
  }

  expect_failures = [var.classes]
}
