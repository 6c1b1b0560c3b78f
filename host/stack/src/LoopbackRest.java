package org.apache.iceberg.rest;

import java.io.FileInputStream;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.iceberg.CatalogUtil;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.gzip.GzipHandler;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import org.eclipse.jetty.util.thread.QueuedThreadPool;

/** Iceberg's own REST server, as in its image, on one address instead of all. The argument is a file of properties. */
public class LoopbackRest {
  public static void main(String[] arguments) throws Exception {
    Properties file = new Properties();
    try (FileInputStream in = new FileInputStream(arguments[0])) {
      file.load(in);
    }
    Map<String, String> properties = new HashMap<>();
    for (String key : file.stringPropertyNames()) {
      properties.put(key, file.getProperty(key));
    }
    String host = properties.remove("rest.host");
    int port = Integer.parseInt(properties.remove("rest.port"));
    var catalog = CatalogUtil.buildIcebergCatalog("rest_backend", properties, null);
    var adapter = new RESTServerCatalogAdapter(new RESTCatalogServer.CatalogContext(catalog, properties));
    var context = new ServletContextHandler(ServletContextHandler.NO_SESSIONS);
    context.addServlet(new ServletHolder(new RESTCatalogServlet(adapter)), "/*");
    context.insertHandler(new GzipHandler());
    Server server = new Server(new QueuedThreadPool(16, 4));
    ServerConnector http = new ServerConnector(server, 1, 1);
    http.setHost(host);
    http.setPort(port);
    server.addConnector(http);
    server.setHandler(context);
    server.start();
    server.join();
  }
}
