# Stage 1: Build the Go application
FROM golang:1.22-alpine AS build-env

# Set the working directory inside the container
WORKDIR /app

# Copy the Go module files first to leverage Docker's build cache
COPY go.mod go.sum ./

# Download Go module dependencies
# This step is cached as long as go.mod and go.sum don't change
RUN go mod download

# Copy the rest of the application source code
COPY . .

# Build the application
# CGO_ENABLED=0 is crucial for static binaries when building for Alpine
# -ldflags="-s -w" reduces the binary size by stripping debug information
RUN CGO_ENABLED=0 GOOS=linux go build -a -installsuffix cgo -ldflags="-s -w" -o /usr/local/bin/app-server .


# Stage 2: Create the minimal runtime image
# Use a minimal base image like scratch for the smallest possible image
# or alpine for a slightly larger but still very small image with basic utilities.
# For most Go applications, scratch is ideal if you only need the binary.
FROM scratch

# Set the working directory (optional for scratch, as it's just the root)
WORKDIR /

# Copy the compiled binary from the 'build-env' stage
COPY --from=build-env /usr/local/bin/app-server /usr/local/bin/app-server

# Expose the port the application listens on
EXPOSE 8080

# Define the command to run the application when the container starts
CMD ["/usr/local/bin/app-server"]
