// SPDX-License-Identifier: Apache-2.0
//! nginx: files at the speed of the network card; `kiln serve` behind it for the page and for reports.

use super::Inputs;

/// A whole configuration.
pub(super) fn configuration(inputs: &Inputs<'_>) -> String {
    let Inputs { folder, out, first_stage, page, base, .. } = inputs;
    let roles: Vec<&str> = inputs.cluster.roles().into_iter().collect();
    let (roles, port) = (roles.join("|"), base.http);
    format!(
        r"# Written by kiln serve --write-config: images, metadata and boot scripts of '{cluster}'.
# nginx -c {folder}/nginx.conf
worker_processes auto;
worker_rlimit_nofile 65536;

events {{
    worker_connections 16384;
}}

http {{
    default_type application/octet-stream;
    server_tokens off;
    access_log off;
    sendfile on;
    tcp_nopush on;
    # So that one download does not keep a worker from the others.
    sendfile_max_chunk 512k;
    open_file_cache max=1000 inactive=60s;
    # Until what a build replaced is noticed.
    open_file_cache_valid 1s;
    keepalive_timeout 30s;
    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 30s;
    reset_timedout_connection on;
    client_max_body_size 256k;

    server {{
        listen {port};
        root {folder}/www;

        location = /boot.ipxe {{ default_type text/plain; }}
        location /hosts/ {{ default_type text/plain; }}

        # A script names the build that it is of; there is the newest only.
        location ~ ^/images/({roles})/(?:v-[0-9a-f]+/)?([A-Za-z0-9_+-][A-Za-z0-9._+-]*)$ {{
            alias {out}/$1/$2;
        }}
        location /ipxe/ {{ alias {first_stage}/; }}

        # The fleet: kiln serve, on this machine.
        location ~ ^/hosts/[0-9a-f-]+/report$ {{
            proxy_pass http://{page};
            proxy_set_header X-Real-IP $remote_addr;
        }}
        location ~ ^/(|style\.css|script\.js|events)$ {{
            proxy_pass http://{page};
            proxy_set_header X-Real-IP $remote_addr;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
",
        cluster = inputs.cluster.name,
    )
}
