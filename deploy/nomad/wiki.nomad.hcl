# A WebDAV server whose files are kept by volkeep: one group, one volume, three tasks. See README.md.

variable "repository" {
  type    = string
  default = "s3://bucket/wiki?region=eu-central-1"
}

job "wiki" {
  datacenters = ["*"]
  type        = "service"

  group "wiki" {
    # One at a time has the volume, also during an update.
    count = 1

    update {
      max_parallel = 1
      canary       = 0
    }

    # When a restore takes long, the allocation must not be given up.
    restart {
      attempts = 10
      delay    = "15s"
      interval = "30m"
      mode     = "delay"
    }

    volume "wiki" {
      type            = "host"
      source          = "wiki"
      access_mode     = "single-node-writer"
      attachment_mode = "file-system"
    }

    network {
      port "http" { to = 8080 }
    }

    # Before the app, to its end: makes the volume ready. If it fails, the app is not started.
    task "init" {
      driver = "docker"
      user   = "1000:1000"

      lifecycle {
        hook    = "prestart"
        sidecar = false
      }

      config {
        image           = "volkeep:0.1.0"
        args            = ["init"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        volumes         = ["local/volkeep.yaml:/etc/volkeep/config.yaml:ro"]
      }

      volume_mount {
        volume      = "wiki"
        destination = "/volume"
      }

      template {
        destination = "local/volkeep.yaml"
        data        = file("volkeep.yaml")
      }

      # From Nomad's variables, at nomad/jobs/wiki. Files of this task alone.
      template {
        destination = "secrets/s3_id"
        data        = "{{ with nomadVar \"nomad/jobs/wiki\" }}{{ .s3_id }}{{ end }}"
      }

      template {
        destination = "secrets/s3_secret"
        data        = "{{ with nomadVar \"nomad/jobs/wiki\" }}{{ .s3_secret }}{{ end }}"
      }

      env {
        VOLKEEP_REPOSITORY                           = var.repository
        VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID_FILE     = "/secrets/s3_id"
        VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY_FILE = "/secrets/s3_secret"
      }

      resources {
        cpu    = 500
        memory = 128
      }
    }

    task "app" {
      driver = "docker"
      user   = "1000:1000"

      config {
        image           = "rclone/rclone:1.75"
        args            = ["serve", "webdav", "/volume/data", "--addr", ":8080", "--config", "/dev/null", "--cache-dir", "/tmp"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        ports           = ["http"]

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      volume_mount {
        volume      = "wiki"
        destination = "/volume"
      }

      resources {
        cpu    = 200
        memory = 128
      }
    }

    # Beside the app. Nomad ends sidecars after the other tasks, so that a last backup has all of it.
    task "sidecar" {
      driver = "docker"
      user   = "1000:1000"
      # A little more than sidecar.grace, which is 25 s.
      kill_timeout = "30s"

      lifecycle {
        hook    = "poststart"
        sidecar = true
      }

      config {
        image           = "volkeep:0.1.0"
        args            = ["sidecar"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        volumes         = ["local/volkeep.yaml:/etc/volkeep/config.yaml:ro"]
      }

      volume_mount {
        volume      = "wiki"
        destination = "/volume"
      }

      template {
        destination   = "local/volkeep.yaml"
        data          = file("volkeep.yaml")
        change_mode   = "signal"
        change_signal = "SIGHUP"
      }

      template {
        destination = "secrets/s3_id"
        data        = "{{ with nomadVar \"nomad/jobs/wiki\" }}{{ .s3_id }}{{ end }}"
        # Keys are read when they are needed.
        change_mode = "noop"
      }

      template {
        destination = "secrets/s3_secret"
        data        = "{{ with nomadVar \"nomad/jobs/wiki\" }}{{ .s3_secret }}{{ end }}"
        change_mode = "noop"
      }

      env {
        VOLKEEP_REPOSITORY                           = var.repository
        VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID_FILE     = "/secrets/s3_id"
        VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY_FILE = "/secrets/s3_secret"
      }

      resources {
        cpu    = 200
        memory = 64
      }
    }
  }
}
