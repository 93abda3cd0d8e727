locals {
  # What a kind of node gets; the scripts read their settings from a file, so they are the same on every machine.
  shared = {
    "/usr/local/lib/optml/node.sh"  = "node.sh"
    "/usr/local/sbin/optml-prepare" = "prepare.sh"
    "/usr/local/sbin/optml-join"    = "join.sh"
    "/usr/local/sbin/optml-start"   = "start.sh"
  }
  control_plane = {
    "/usr/local/sbin/optml-claim"    = "claim.sh"
    "/usr/local/sbin/optml-volume"   = "volume.sh"
    "/usr/local/sbin/optml-init"     = "init.sh"
    "/usr/local/sbin/optml-publish"  = "publish.sh"
    "/usr/local/sbin/optml-snapshot" = "snapshot.sh"
    "/usr/local/sbin/optml-addons"   = "addons.sh"
  }
  scripts = var.kind == "control-plane" ? merge(local.shared, local.control_plane) : local.shared

  units = var.kind == "control-plane" ? ["optml-start.service", "optml-publish.service", "optml-publish.timer", "optml-snapshot.service", "optml-snapshot.timer"] : ["optml-start.service"]
  plain = var.kind == "control-plane" ? { "/etc/optml/manifests/operators.yaml" = "operators.yaml", "/etc/optml/manifests/autoscaler-values.yaml" = "autoscaler-values.yaml", "/etc/optml/manifests/csi-values.yaml" = "csi-values.yaml", "/etc/optml/manifests/dashboard-values.yaml" = "dashboard-values.yaml" } : {}

  settings_text = templatefile("${path.module}/files/node.env.tftpl", {
    settings = merge(var.settings, { OPTML_KIND = var.kind })
  })

  files = merge(
    { for target, name in local.scripts : target => { mode = "0755", text = file("${path.module}/files/${name}") } },
    { for unit in local.units : "/etc/systemd/system/${unit}" => { mode = "0644", text = file("${path.module}/files/${unit}") } },
    { for target, name in local.plain : target => { mode = "0644", text = file("${path.module}/files/${name}") } },
    {
      "/etc/optml/node.env"    = { mode = "0644", text = local.settings_text }
      "/etc/optml/addons.lock" = { mode = "0644", text = var.addons_lock }
    },
  )

  user_data = templatefile("${path.module}/files/user-data.yaml.tftpl", { files = local.files })
}
