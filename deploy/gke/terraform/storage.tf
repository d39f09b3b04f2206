resource "google_artifact_registry_repository" "images" {
  # checkov:skip=CKV_GCP_84: Google's own keys encrypt the images; they hold no secret.
  repository_id = local.prefix
  location      = var.region
  format        = "DOCKER"
  description   = "Images, with their SBOMs and signatures. Deployed by digest, so a tag that moves changes nothing."

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket" "mlflow" {
  # checkov:skip=CKV_GCP_62: Cloud Audit Logs can record access; logs in a second bucket would only repeat them.
  name                        = "${var.project}-${local.prefix}-mlflow"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = true
  }
  # Overwritten and deleted objects can be restored for a month.
  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 30
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  depends_on = [google_project_service.api]
}
