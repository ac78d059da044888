# golang:1.22-alpine is the first stage alone, golang:alpine both: the second adds what its Dockerfiles ask apk for.
FROM alpine:latest AS plain
ADD go.tar /
ADD goproxy.tar /
ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV GOLANG_VERSION=1.22.10
ENV GOTOOLCHAIN=local
ENV GOPATH=/go
WORKDIR /go

FROM plain AS build
ADD alpine-build.tar /
