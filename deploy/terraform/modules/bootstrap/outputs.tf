output "user_data" {
  description = "The machine's user-data, as cloud-init reads it."
  value       = local.user_data
}

output "user_data_base64" {
  description = "The same, compressed: AWS takes 16 KiB."
  value       = base64gzip(local.user_data)

  precondition {
    condition     = length(base64gzip(local.user_data)) * 3 / 4 <= 16384
    error_message = "User-data is over AWS's 16 KiB."
  }
}

output "settings_text" {
  description = "The file of settings that the scripts read."
  value       = local.settings_text
}
