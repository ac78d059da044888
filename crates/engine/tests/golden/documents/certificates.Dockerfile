# Build Stage (unchanged)
FROM golang:1.22-alpine AS builder
WORKDIR /app
COPY go.mod go.sum ./
RUN go mod download
COPY . ./
RUN CGO_ENABLED=0 GOOS=linux go build -o /app/my-awesome-service
# Final Stage: Now with 100% more trust
FROM scratch
# Copy the CA certificates from the Alpine image used in the builder stage.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# Copy our binary
COPY --from=builder /app/my-awesome-service /app/my-awesome-service
ENTRYPOINT ["/app/my-awesome-service"]
