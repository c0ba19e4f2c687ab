# The image is the program and nothing else. It needs no network at run time.
#
#   docker build -t genbrowser .
#   docker run -e SECRET=$(openssl rand -base64 32) -p 8080:8080 genbrowser
#   docker run -v genbrowser:/data -p 8080:8080 genbrowser serve --data /data       # mailboxes outlive it
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /genbrowser ./cmd/genbrowser
RUN mkdir -p empty/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /genbrowser /genbrowser
# a volume that is mounted here is its user's
COPY --from=build --chown=65532:65532 /src/empty/data /data
USER 65532:65532
ENV GENBROWSER_LISTEN=tcp://:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=4s CMD ["/genbrowser", "healthcheck"]
ENTRYPOINT ["/genbrowser"]
CMD ["playground"]
