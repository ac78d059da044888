# syntax=docker/dockerfile:1
# ---- build stage: full toolchain, thrown away later ----
FROM golang:1.22 AS builder
WORKDIR /src
# Dependency layer first so it caches across source edits.
COPY go.mod go.sum ./
RUN go mod download
# Now the source. Build a static, stripped, version-stamped binary.
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/root/.cache/go-build \
CGO_ENABLED=0 GOOS=linux go build \
-ldflags="-s -w -X main.version=${VERSION}" \
-o /out/app ./cmd/app
# ---- runtime stage: nothing but the binary ----
FROM scratch
COPY --from=builder /out/app /app
EXPOSE 8080
USER 65534:65534 # nobody:nobody
ENTRYPOINT ["/app"]
