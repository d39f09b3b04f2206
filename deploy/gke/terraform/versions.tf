terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
  }

  # Bucket and prefix come from the command line, so that no project is named here:
  # terraform init -backend-config=bucket=BUCKET -backend-config=prefix=reviews-parsing/dev
  backend "gcs" {}
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = local.labels
}

locals {
  prefix = "${var.name}-${var.environment}"
  labels = {
    application = var.name
    environment = var.environment
    managed-by  = "terraform"
  }
}

resource "google_project_service" "api" {
  for_each = toset(concat([
    "artifactregistry.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "container.googleapis.com",
    "endpoints.googleapis.com",
    "iam.googleapis.com",
    # Workloads act as their service accounts through it.
    "iamcredentials.googleapis.com",
    "servicemanagement.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
  ], var.shared_models ? ["file.googleapis.com"] : []))

  service = each.key
  # Others in the project may use them too.
  disable_on_destroy = false
}
