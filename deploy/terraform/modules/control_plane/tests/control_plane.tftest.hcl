mock_provider "aws" {}

variables {
  name               = "optml"
  ami_id             = "ami-0123456789abcdef0"
  vpc_id             = "vpc-1"
  zones              = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  subnet_ids         = ["subnet-a", "subnet-b", "subnet-c"]
  security_group_ids = { control_plane = "sg-control", api_balancer = "sg-api" }
  instance_profile   = "optml-control-plane"
  kms_key_arn        = "arn:aws:kms:eu-central-1:111122223333:key/data"
  log_bucket         = "optml-logs"
  node_settings      = { OPTML_CLUSTER = "optml" }
  addons_lock        = "containerd 2.1.4 https://example.test/containerd.tar.gz 0000000000000000000000000000000000000000000000000000000000000000"
}

# Volumes may not be destroyed, so a test that applied could not end: everything here is only planned.
run "inside_of_the_network" {
  command = plan

  assert {
    condition     = aws_lb.api.internal && aws_lb.api.load_balancer_type == "network" && aws_lb_listener.api.port == 6443
    error_message = "The control plane has no public address."
  }

  assert {
    condition     = alltrue([for node in aws_instance.nodes : one(node.metadata_options).http_tokens == "required" && one(node.metadata_options).http_put_response_hop_limit == 1])
    error_message = "IMDSv2, one hop."
  }

  assert {
    condition     = one(aws_lb_target_group.api.health_check).path == "/readyz" && one(aws_lb_target_group.api.health_check).protocol == "HTTPS"
    error_message = "A node gets requests when it is ready for them."
  }

  assert {
    condition     = aws_lb_target_group.api.preserve_client_ip == "false"
    error_message = "A node reaches itself through the balancer."
  }
}

run "state_is_encrypted_and_spread" {
  command = plan

  assert {
    condition     = [for index in sort(keys(aws_ebs_volume.state)) : aws_ebs_volume.state[index].availability_zone] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    error_message = "One node in each zone."
  }

  assert {
    condition     = alltrue([for volume in aws_ebs_volume.state : volume.encrypted && volume.kms_key_id == var.kms_key_arn && volume.final_snapshot])
    error_message = "Encrypted with our key, and kept."
  }

  assert {
    condition     = alltrue([for node in aws_instance.nodes : one(node.root_block_device).encrypted])
    error_message = "The machines' own disks too."
  }

  assert {
    condition     = aws_dynamodb_table.election.hash_key == "office" && one(aws_dynamodb_table.election.server_side_encryption).enabled
    error_message = "The election is held in one table."
  }
}

run "a_single_node" {
  command = plan

  variables {
    node_count = 1
  }

  assert {
    condition     = length(aws_instance.nodes) == 1 && length(aws_lb_target_group_attachment.api) == 1
    error_message = "One node, behind the same balancer."
  }
}

run "five_nodes_in_three_zones" {
  command = plan

  variables {
    node_count = 5
  }

  assert {
    condition     = join(" ", sort([for volume in aws_ebs_volume.state : substr(volume.availability_zone, -1, 1)])) == "a a b b c"
    error_message = "No zone holds a majority."
  }
}

run "two_nodes" {
  command = plan

  variables {
    node_count = 2
  }

  expect_failures = [var.node_count]
}

run "four_nodes" {
  command = plan

  variables {
    node_count = 4
  }

  expect_failures = [var.node_count]
}
