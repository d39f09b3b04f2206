# In three zones, stable release channel, deletion protection.
environment         = "prod"
region              = "europe-west1"
release_channel     = "STABLE"
deletion_protection = true
shared_models       = true

stable_pool = { min_nodes = 3, max_nodes = 12 }
spot_pool   = { max_nodes = 12 }
