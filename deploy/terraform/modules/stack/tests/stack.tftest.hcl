mock_provider "aws" {
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:111122223333:optml-alarms" }
  }
}

variables {
  name                = "optml"
  region              = "eu-central-1"
  account_id          = "111122223333"
  zones               = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  nat_per_zone        = true
  control_plane_count = 3
  kubernetes_version  = "1.37.1"
  ami_id              = "ami-0123456789abcdef0"
  addons_lock         = "containerd 2.1.4 https://example.test/containerd.tar.gz 0000000000000000000000000000000000000000000000000000000000000000"
  visibility_s        = 60
  queue_prefix        = "team-"
  cache_enabled       = false
  alarm_email         = "team@example.org"
  monthly_budget_usd  = 500

  classes = {
    cpu-small = { instance_types = ["c6i.large", "c6a.large", "c7i.large", "c7a.large"], cpus = 2, memory_gib = 4, max_size = 20 }
  }
}

# State volumes may not be destroyed, so a test that applied could not end: everything here is only planned.
run "the_parts_fit" {
  command = plan

  assert {
    condition     = module.queue.queues["cpu-small"].name == "team-optml-cpu-small" && output.answers.sqs.prefix == "team-" && output.answers.visibility_s == 60
    error_message = "Queues and workers hear of one prefix and one visibility."
  }

  assert {
    condition     = toset(keys(module.workers.groups)) == toset(["cpu-small", "system"]) && toset(keys(module.queue.queues)) == toset(["cpu-small"])
    error_message = "The system's machines have a group and no queue."
  }

  assert {
    condition     = module.edge.host == "" && module.cache.endpoint == ""
    error_message = "Neither edge nor cache unless asked for."
  }
}

run "an_even_control_plane" {
  command = plan

  variables {
    control_plane_count = 2
  }

  expect_failures = [var.control_plane_count]
}

run "a_class_named_system" {
  command = plan

  variables {
    classes = { system = { instance_types = ["c6i.large", "c6a.large", "c7i.large", "c7a.large"], cpus = 2, memory_gib = 4, max_size = 20 } }
  }

  expect_failures = [var.classes]
}

run "a_version_without_a_patch" {
  command = plan

  variables {
    kubernetes_version = "1.37"
  }

  expect_failures = [var.kubernetes_version]
}
