FROM golang:alpine as build

# install node and build tools
RUN apk update && apk add --no-cache nodejs make build-base && apk add --update npm

WORKDIR /app

COPY go.mod .
COPY go.sum .

RUN go mod download

COPY . .

RUN npm install

# build the app
RUN CGO_ENABLED=1 GOOS=linux go build -o /build ./cmd/site/main.go

# run stage with Alpine
FROM alpine:latest as run

WORKDIR /app

# copy the Caddyfile
COPY ./Caddyfile /etc/caddy/Caddyfile

# copy the binary from the build stage
COPY --from=build /build /app/site

EXPOSE 4242

CMD ["/app/site"]
