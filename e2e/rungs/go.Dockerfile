# A program by the compiler of go.dev, which looks for its own folder in /proc; its cache is mounted.
FROM scratch AS go
ADD debian.tar /
ADD go.tar /
ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
WORKDIR /src
COPY <<EOT go.mod
module example.invalid/rung

go 1.21
EOT
COPY <<EOT main.go
package main

import "os"

func main() { os.Stdout.WriteString("built\n") }
EOT
RUN --mount=type=cache,target=/root/.cache/go-build go build -trimpath -ldflags=-buildid= -o /rung . && /rung | grep built

FROM scratch
COPY --from=go /rung /rung
