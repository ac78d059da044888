# Build Stage: Where the magic (and the mess) happens
FROM golang:1.22-alpine AS builder
# Set our working directory inside the container
WORKDIR /app
# Copy the Go module files first - this layer is cached separately
COPY go.mod go.sum ./
# Download dependencies
RUN go mod download
# Copy the rest of the source code
COPY . ./
# Build the binary, explicitly setting flags for a truly static binary.
# CGO_ENABLED=0 is the secret handshake here.
RUN CGO_ENABLED=0 GOOS=linux go build -o /app/my-awesome-service
# Final Stage: The pristine serving plate
FROM scratch
# Copy *only* the binary from the builder stage. Nothing else comes along for the ride.
COPY --from=builder /app/my-awesome-service /app/my-awesome-service
# Tell Docker what to run when the container starts
ENTRYPOINT ["/app/my-awesome-service"]
