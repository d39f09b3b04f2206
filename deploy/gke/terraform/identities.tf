# Service accounts and their roles. There are no keys: nodes get their identity from Compute Engine, workloads from GKE.

resource "google_service_account" "nodes" {
  account_id   = "${local.prefix}-nodes"
  display_name = "${local.prefix}: nodes"

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "nodes" {
  project = var.project
  # Only logs and metrics.
  role   = "roles/container.defaultNodeServiceAccount"
  member = google_service_account.nodes.member
}

resource "google_artifact_registry_repository_iam_member" "pull" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.nodes.member
}

locals {
  # Google service account => Kubernetes service account (namespace/name) that may impersonate it.
  workloads = {
    mlflow  = "mlflow/mlflow"
    jenkins = "jenkins-builds/image"
    # Inference is exposed to the internet and gets its model from MLflow: a separate identity without a role.
    inference = "reviews-parsing/reviews-parsing-ner-aspects"
  }
}

resource "google_service_account" "workload" {
  for_each = local.workloads

  account_id   = "${local.prefix}-${each.key}"
  display_name = "${local.prefix}: ${each.key}"

  depends_on = [google_project_service.api]
}

resource "google_service_account_iam_member" "workload_identity" {
  for_each = local.workloads

  service_account_id = google_service_account.workload[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${each.value}]"

  # The pool of identities comes with the project's first cluster.
  depends_on = [google_container_cluster.this]
}

resource "google_storage_bucket_iam_member" "mlflow" {
  bucket = google_storage_bucket.mlflow.name
  role   = "roles/storage.objectUser"
  member = google_service_account.workload["mlflow"].member
}

resource "google_artifact_registry_repository_iam_member" "push" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.workload["jenkins"].member
}
