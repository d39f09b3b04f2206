output "project" {
  description = "Google Cloud project."
  value       = var.project
}

output "region" {
  description = "Region of the cluster and of everything else."
  value       = var.region
}

output "environment" {
  description = "Name of the environment."
  value       = var.environment
}

output "deletion_protection" {
  description = "True if destroy will be refused; check it before deleting anything inside the cluster."
  value       = var.deletion_protection
}

output "cluster_name" {
  description = "Name of the cluster."
  value       = google_container_cluster.this.name
}

output "get_credentials" {
  description = "Command that lets kubectl reach the cluster."
  value = join(" ", concat(
    ["gcloud container clusters get-credentials", google_container_cluster.this.name],
    ["--project", var.project, "--region", var.region],
    local.lists_networks ? [] : ["--dns-endpoint"],
  ))
}

output "gateway_ip" {
  description = "Static address for the gateway's load balancer."
  value       = google_compute_address.gateway.address
}

output "domain" {
  description = "Domain of the hosts."
  value       = coalesce(var.domain, "endpoints.${var.project}.cloud.goog")
}

output "artifact_registry" {
  description = "Prefix of image names: the Artifact Registry repository."
  value = join("/", [
    "${var.region}-docker.pkg.dev", var.project, google_artifact_registry_repository.images.repository_id,
  ])
}

output "models_network" {
  description = "Network of the Filestore instance with the fetched versions; empty: pods share none."
  value       = var.shared_models ? google_compute_network.this.name : ""
}

output "mlflow_bucket" {
  description = "Bucket of MLflow's artifacts."
  value       = google_storage_bucket.mlflow.name
}

output "mlflow_service_account" {
  description = "Google service account of MLflow: reads and writes the bucket."
  value       = google_service_account.workload["mlflow"].email
}

output "inference_service_account" {
  description = "Google service account of the inference server: without roles."
  value       = google_service_account.workload["inference"].email
}

output "jenkins_service_account" {
  description = "Google service account of the stage that builds images: pushes and pulls them."
  value       = google_service_account.workload["jenkins"].email
}

output "github_provider" {
  description = "Variable GOOGLE_PROVIDER of the GitHub repository; null without github_repository."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}
