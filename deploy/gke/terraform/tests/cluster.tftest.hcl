# Tests without a cloud: of the defaults, or of an environment:
# terraform test -var-file=environments/prod.tfvars

mock_provider "google" {}

variables {
  project = "some-project-1"
}

run "every_environment" {
  # Names.
  assert {
    condition     = google_container_cluster.this.name == "reviews-parsing-${var.environment}"
    error_message = "The cluster is named ${google_container_cluster.this.name}."
  }
  assert {
    condition = alltrue([for name in [
      google_compute_network.this.name,
      google_compute_subnetwork.nodes.name,
      google_compute_address.gateway.name,
      google_service_account.nodes.account_id,
      google_artifact_registry_repository.images.repository_id,
    ] : startswith(name, "reviews-parsing-${var.environment}")])
    error_message = "A name does not begin with the environment's."
  }
  assert {
    condition = alltrue([
      for account in concat([google_service_account.nodes], values(google_service_account.workload)) :
      length(account.account_id) <= 30
    ])
    error_message = "A service account's name is longer than Google allows."
  }
  assert {
    condition     = google_storage_bucket.mlflow.name == "some-project-1-reviews-parsing-${var.environment}-mlflow"
    error_message = "The bucket's name, which must be unique in the world, lacks the project."
  }

  # No public node.
  assert {
    condition     = google_container_cluster.this.private_cluster_config[0].enable_private_nodes
    error_message = "The cluster gives its nodes public addresses."
  }
  assert {
    condition = alltrue([
      for pool in google_container_node_pool.this : pool.network_config[0].enable_private_nodes
    ])
    error_message = "A pool gives its nodes public addresses."
  }
  assert {
    condition     = google_compute_subnetwork.nodes.private_ip_google_access
    error_message = "Private nodes cannot reach Google's registries."
  }

  # No default service account, and nobody who may do more than needed.
  assert {
    condition = alltrue([for node in concat(google_container_cluster.this.node_config[*], [
      for pool in google_container_node_pool.this : pool.node_config[0]
    ]) : node.service_account == google_service_account.nodes.email])
    error_message = "Nodes run as Compute Engine's default service account."
  }
  assert {
    condition     = google_project_iam_member.nodes.role == "roles/container.defaultNodeServiceAccount"
    error_message = "Nodes may do more in the project than send logs and metrics."
  }
  assert {
    condition     = toset(keys(google_service_account.workload)) == toset(["inference", "jenkins", "mlflow"])
    error_message = "A workload has no identity of its own."
  }
  assert {
    condition = toset([for member in google_service_account_iam_member.workload_identity : member.member]) == toset([
      "serviceAccount:some-project-1.svc.id.goog[jenkins-builds/image]",
      "serviceAccount:some-project-1.svc.id.goog[mlflow/mlflow]",
      "serviceAccount:some-project-1.svc.id.goog[reviews-parsing/reviews-parsing-ner-aspects]",
    ])
    error_message = "Another Kubernetes service account may act as a Google one."
  }

  assert {
    condition     = length(google_iam_workload_identity_pool.github) == 0
    error_message = "GitHub may push images though no repository was named."
  }

  # Nodes.
  assert {
    condition = alltrue([for pool in google_container_node_pool.this :
      pool.node_config[0].shielded_instance_config[0].enable_secure_boot &&
      pool.node_config[0].shielded_instance_config[0].enable_integrity_monitoring &&
    pool.node_config[0].workload_metadata_config[0].mode == "GKE_METADATA"])
    error_message = "A pool is not shielded, or its pods see the node's credentials."
  }
  assert {
    condition = { for name, pool in google_container_node_pool.this : name => pool.node_config[0].spot } == {
      spot   = true
      stable = false
    }
    error_message = "One stable pool and one spot pool are needed."
  }
  assert {
    condition = { for name, pool in google_container_node_pool.this : name => [
      for taint in pool.node_config[0].taint : "${taint.key}=${taint.value}:${taint.effect}"
    ] } == { spot = ["cloud.google.com/gke-spot=true:NO_SCHEDULE"], stable = [] }
    error_message = "Pods that did not ask for it would run on spot nodes, or GKE's own would run nowhere."
  }
  assert {
    condition     = google_container_cluster.this.datapath_provider == "ADVANCED_DATAPATH"
    error_message = "Without Dataplane V2 network policies say much and do nothing."
  }

  # What is kept.
  assert {
    condition = (google_storage_bucket.mlflow.versioning[0].enabled &&
      google_storage_bucket.mlflow.uniform_bucket_level_access &&
    google_storage_bucket.mlflow.public_access_prevention == "enforced")
    error_message = "The bucket is public, or forgets what was overwritten."
  }
  assert {
    condition = (var.environment != "prod" ||
    google_container_cluster.this.deletion_protection && !google_storage_bucket.mlflow.force_destroy)
    error_message = "terraform destroy would delete production."
  }

  # Where MLflow may be away.
  assert {
    condition = (var.shared_models == google_container_cluster.this.addons_config[0].gcp_filestore_csi_driver_config[0].enabled &&
      var.shared_models == contains(keys(google_project_service.api), "file.googleapis.com") &&
    output.models_network == (var.shared_models ? google_compute_network.this.name : ""))
    error_message = "Pods would wait for a Filestore instance that no driver makes, or it would be made in another network."
  }

  # What kubectl and the charts are told.
  assert {
    condition = (google_container_cluster.this.private_cluster_config[0].enable_private_endpoint &&
      length(google_container_cluster.this.master_authorized_networks_config[0].cidr_blocks) == 0 &&
    endswith(output.get_credentials, "--dns-endpoint"))
    error_message = "The control plane is reached by its address though no network was authorized."
  }
  assert {
    condition     = output.domain == "endpoints.some-project-1.cloud.goog"
    error_message = "The domain is ${output.domain}."
  }
  assert {
    condition = endswith(
      output.artifact_registry, "-docker.pkg.dev/some-project-1/reviews-parsing-${var.environment}"
    )
    error_message = "Images would be called ${output.artifact_registry}."
  }
}

run "with_networks_and_a_domain" {
  variables {
    master_authorized_networks = { office = "192.0.2.0/24" }
    domain                     = "reviews.example.org"
  }

  assert {
    condition = (!google_container_cluster.this.private_cluster_config[0].enable_private_endpoint &&
      !google_container_cluster.this.control_plane_endpoints_config[0].dns_endpoint_config[0].allow_external_traffic &&
      alltrue([for block in google_container_cluster.this.master_authorized_networks_config[0].cidr_blocks :
    block.cidr_block == "192.0.2.0/24"]))
    error_message = "Others than the listed networks reach the control plane."
  }
  assert {
    condition     = output.domain == "reviews.example.org"
    error_message = "The domain is ${output.domain}."
  }
}

run "one_repository_pushes_images_without_a_key" {
  variables {
    github_repository = "someone/reviews-parsing"
  }

  assert {
    condition = (google_iam_workload_identity_pool_provider.github[0].attribute_condition ==
    "assertion.repository == 'someone/reviews-parsing' && assertion.ref == 'refs/heads/main'")
    error_message = "Jobs of other repositories or branches get in."
  }
  assert {
    condition = (google_artifact_registry_repository_iam_member.github[0].role == "roles/artifactregistry.writer" &&
    endswith(google_artifact_registry_repository_iam_member.github[0].member, "/attribute.repository/someone/reviews-parsing"))
    error_message = "GitHub may do more than push images."
  }
  assert {
    condition     = length(google_iam_workload_identity_pool.github[0].workload_identity_pool_id) <= 32
    error_message = "The name of the pool is longer than Google allows."
  }
}

run "mistakes_are_named_before_anything_is_made" {
  command = plan

  variables {
    project                    = "Some Project"
    environment                = "production"
    name                       = "a-name-beyond-fifteen"
    zones                      = ["us-central1-a"]
    domain                     = "https://reviews.example.org"
    release_channel            = "FASTEST"
    master_authorized_networks = { everybody = "0.0.0.0/0" }
    network_ranges             = { control_plane = "172.16.0.0/24" }
    stable_pool                = { min_nodes = 4, max_nodes = 3 }
    spot_pool                  = { min_nodes = -1 }
    github_repository          = "https://github.com/someone/reviews-parsing"
  }

  expect_failures = [
    var.project,
    var.environment,
    var.name,
    var.zones,
    var.domain,
    var.release_channel,
    var.master_authorized_networks,
    var.network_ranges,
    var.stable_pool,
    var.spot_pool,
    var.github_repository,
  ]
}

run "a_zone_is_no_region" {
  command = plan

  variables {
    region = "europe-west1-b"
    zones  = []
  }

  expect_failures = [var.region]
}
