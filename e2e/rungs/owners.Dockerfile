# Owners, users, set-id bits, links and removals, with nothing but busybox: what each rung has to write the same way.
FROM scratch AS base
ADD base.tar /
ENV PATH=/bin

FROM base
RUN mkdir -p /srv/own && echo a >/srv/own/a && chown 33:34 /srv/own && chown -R 1000:1001 /srv/own/a && ln /srv/own/a /srv/b
RUN cp -p /srv/own/a /srv/own/c && cp -a /srv/own /srv/copy && chmod 2750 /srv/copy && chmod 4711 /srv/own/c && mkdir -m 1777 /srv/all
USER 65534:65533
RUN id -u >/srv/all/me && id -g >>/srv/all/me && mkdir /srv/all/mine && ln -s me /srv/all/link
RUN --mount=type=cache,target=/cache,uid=65534,gid=65533 touch /cache/x /srv/all/again
USER 0
RUN rm -r /srv/own && mv /srv/copy /srv/own && chown -h 5:6 /srv/all/link && stat -c '%n %a %u:%g %F' /srv/* /srv/*/* >/list
USER 33
WORKDIR /made/here
RUN pwd >/tmp/where
COPY --chown=7:8 --chmod=6755 base.tar /kept.tar
