variables {
  kind        = "worker"
  settings    = { OPTML_CLUSTER = "optml" }
  addons_lock = <<-TEXT
    # name version url sha256
    containerd 2.1.4 https://example.test/containerd.tar.gz 0000000000000000000000000000000000000000000000000000000000000000
  TEXT
}

run "a_worker_gets_no_script_of_the_control_plane" {
  assert {
    condition     = toset([for file in yamldecode(output.user_data).write_files : basename(file.path) if startswith(file.path, "/usr/local")]) == toset(["node.sh", "optml-prepare", "optml-join", "optml-start"])
    error_message = "A worker can prepare itself and join."
  }

  assert {
    condition     = startswith(output.user_data, "#cloud-config\n")
    error_message = "cloud-init knows its own by the first line."
  }
}

run "a_control_plane_node_gets_all" {
  variables {
    kind = "control-plane"
  }

  assert {
    condition     = length(setsubtract(["optml-init", "optml-claim", "optml-publish", "optml-snapshot", "optml-addons", "optml-volume", "optml-publish.timer"], [for file in yamldecode(output.user_data).write_files : basename(file.path)])) == 0
    error_message = "Scripts and timers of the control plane."
  }

  assert {
    condition     = length(output.user_data_base64) * 3 / 4 < 16384
    error_message = "Within what AWS takes."
  }
}

run "a_token_in_user_data" {
  command = plan

  variables {
    settings = { OPTML_TOKEN = "abcdef.0123456789abcdef" }
  }

  expect_failures = [var.settings]
}

run "an_unpinned_addon" {
  command = plan

  variables {
    addons_lock = "containerd 2.1.4 https://example.test/containerd.tar.gz -"
  }

  expect_failures = [var.addons_lock]
}

run "an_addon_over_plain_http" {
  command = plan

  variables {
    addons_lock = "containerd 2.1.4 http://example.test/containerd.tar.gz 0000000000000000000000000000000000000000000000000000000000000000"
  }

  expect_failures = [var.addons_lock]
}

run "an_unknown_kind" {
  command = plan

  variables {
    kind = "master"
  }

  expect_failures = [var.kind]
}
