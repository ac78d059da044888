FROM scratch
ADD debian-build.tar /
ADD go.tar /
ADD goproxy.tar /
ENV PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV GOLANG_VERSION=1.22.10
ENV GOTOOLCHAIN=local
ENV GOPATH=/go
WORKDIR /go
CMD ["bash"]
