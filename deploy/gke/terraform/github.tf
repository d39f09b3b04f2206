# GitHub Actions push images without a key (workload identity federation): a job exchanges its OIDC token for an access token
# that may only write to the registry. Restricted to the main branch of one repository.

resource "google_iam_workload_identity_pool" "github" {
  count = var.github_repository == null ? 0 : 1

  workload_identity_pool_id = "${local.prefix}-github"
  display_name              = "${local.prefix}: GitHub"

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  # checkov:skip=CKV_GCP_125: The check knows only assertion.sub; here repository and branch are compared as claims of their own.
  count = var.github_repository == null ? 0 : 1

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "actions"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }
  # GitHub issues tokens for all of its users.
  attribute_condition = join(" && ", [
    "assertion.repository == '${var.github_repository}'",
    "assertion.ref == 'refs/heads/main'",
  ])

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_artifact_registry_repository_iam_member" "github" {
  count = var.github_repository == null ? 0 : 1

  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member = join("/", [
    "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}",
    "attribute.repository", var.github_repository,
  ])
}
